// Makes libs/xds-api/src/generated from Envoy's .proto files (the npm package @grpc/grpc-js-xds carries them) and
// our own under libs/xds-api/proto. Runs when an input changed; start, test and the Nx target `generate` call it.
'use strict';
const { createHash } = require('node:crypto');
const { execFileSync } = require('node:child_process');
const fs = require('node:fs');
const path = require('node:path');

const root = path.resolve(__dirname, '../..');
const project = path.join(root, 'libs/xds-api');
const output = path.join(project, 'src/generated');
const own = path.join(project, 'proto');
const carried = path.join(root, 'node_modules/@grpc/grpc-js-xds/deps');

/** Folders of .proto files, in order of precedence; `only` keeps what Mizzen's messages reach. */
const inputs = [
  { from: own, only: () => true },
  { from: path.join(carried, 'envoy-api'), only: isEnvoyV3 },
  { from: path.join(carried, 'xds'), only: () => true },
  { from: path.join(carried, 'googleapis'), only: isNeededGoogleApi },
];

// Envoy's v2 is gone from every supported client; service/trace needs OpenCensus' trace model.
function isEnvoyV3(file) {
  if (file.startsWith('envoy/service/trace/')) return false;
  return /\/v3(alpha)?\//.test(file) || file.startsWith('envoy/annotations/');
}

function isNeededGoogleApi(file) {
  return (
    file.startsWith('google/rpc/') || /^google\/api\/(annotations|http)\.proto$/.test(file) || file.startsWith('google/api/expr/v1alpha1/')
  );
}

function protoFiles(folder) {
  return fs
    .readdirSync(folder, { recursive: true })
    .map((file) => file.split(path.sep).join('/'))
    .filter((file) => file.endsWith('.proto'))
    .sort();
}

function stamp() {
  const hash = createHash('sha256');
  hash.update(fs.readFileSync(__filename));
  hash.update(fs.readFileSync(path.join(root, 'package-lock.json')));
  for (const file of protoFiles(own)) hash.update(file).update(fs.readFileSync(path.join(own, file)));
  return hash.digest('hex');
}

function generate() {
  const wanted = stamp();
  const stampFile = path.join(output, '.stamp');
  if (fs.existsSync(stampFile) && fs.readFileSync(stampFile, 'utf8') === wanted) return false;

  const staging = path.join(root, '.mizzen', `protos-${process.pid}`);
  const made = path.join(staging, 'made');
  fs.rmSync(staging, { recursive: true, force: true });
  for (const { from, only } of inputs) {
    copy(from, staging, only);
  }
  fs.writeFileSync(path.join(staging, 'buf.yaml'), 'version: v2\n');
  fs.writeFileSync(
    path.join(staging, 'buf.gen.yaml'),
    [
      'version: v2',
      'plugins:',
      `  - local: ["${process.execPath}", "${path.join(root, 'node_modules/@bufbuild/protoc-gen-es/bin/protoc-gen-es')}"]`,
      `    out: ${JSON.stringify(made)}`,
      '    strategy: all',
      '    opt: [target=ts, erasable_syntax=true, import_extension=ts]',
      '',
    ].join('\n'),
  );
  execFileSync(process.execPath, [path.join(root, 'node_modules/@bufbuild/buf/bin/buf'), 'generate'], {
    cwd: staging,
    stdio: ['ignore', 'inherit', 'inherit'],
  });
  fs.writeFileSync(path.join(made, '.stamp'), wanted);
  // Made beside and swapped in, so that who reads meanwhile finds the old ones or the new ones.
  fs.rmSync(output, { recursive: true, force: true });
  fs.renameSync(made, output);
  fs.rmSync(staging, { recursive: true, force: true });
  return true;
}

function copy(from, to, only) {
  for (const file of protoFiles(from)) {
    const target = path.join(to, file);
    if (!only(file) || fs.existsSync(target)) continue;
    fs.mkdirSync(path.dirname(target), { recursive: true });
    fs.copyFileSync(path.join(from, file), target);
  }
}

module.exports = { generate };
if (require.main === module) {
  const changed = generate();
  if (!process.argv.includes('--quiet')) console.log(changed ? 'generated the xDS messages' : 'the xDS messages are up to date');
}
