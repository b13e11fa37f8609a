// Jest's transform: Node's own type stripping, so that a test runs the very text that `node file.ts` would.
// Stripping replaces types by blanks: lines and columns stay, and no source map is needed.
'use strict';
const { createHash } = require('node:crypto');
const { stripTypeScriptTypes } = require('node:module');

module.exports = {
  process: (source) => ({ code: stripTypeScriptTypes(source, { mode: 'strip' }) }),
  getCacheKey: (source, file) => createHash('sha256').update(process.version).update(file).update('\0').update(source).digest('hex'),
};
