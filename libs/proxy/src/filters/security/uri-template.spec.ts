import { create } from '@bufbuild/protobuf';
import { describe, expect, it } from '@jest/globals';
import { Field, type StringPredicate } from '@mizzen/matching';
import { packAny } from '@mizzen/xds-api';
import { TypedExtensionConfigSchema } from '@mizzen/xds-api/envoy/config/core/v3/extension';
import { UriTemplateMatchConfigSchema } from '@mizzen/xds-api/envoy/extensions/path/match/uri_template/v3/uri_template_match';
import fc from 'fast-check';
import { compileUriTemplate } from './uri-template.ts';

function compile(pathTemplate: string): { matches: StringPredicate; problems: string[] } {
  const field = new Field('uri_template', []);
  const typedConfig = packAny(UriTemplateMatchConfigSchema, create(UriTemplateMatchConfigSchema, { pathTemplate }));
  const matches = compileUriTemplate(create(TypedExtensionConfigSchema, { name: 'template', typedConfig }), field);
  return { matches, problems: field.rejections.map(({ path, reason }) => `${path}: ${reason}`) };
}

describe('a URI template', () => {
  it.each([
    { template: '/', yes: ['/'], no: ['', '/a'] },
    { template: '/a/*', yes: ['/a/b', '/a/b.c'], no: ['/a', '/a/', '/a/b/c', '/aXb'] },
    { template: '/a/**', yes: ['/a/', '/a/b', '/a/b/c'], no: ['/a', '/b/a/'] },
    { template: '/{x}/b/{y=c/**}.txt', yes: ['/1/b/c/d/e.txt'], no: ['/1/b/d/e.txt', '/1/b/c/dXtxt'] },
    { template: '/a.b$/(c)+', yes: ['/a.b$/(c)+'], no: ['/aXb$/(c)+', '/a.b/c'] },
  ])('$template', ({ template, yes, no }) => {
    const { matches, problems } = compile(template);
    expect(problems).toEqual([]);
    expect([yes.filter(matches), no.filter(matches)]).toEqual([yes, []]);
  });

  it.each([
    'a',
    '',
    '/a/**/b/*',
    '/**/{x}',
    '/{x',
    '/{}',
    '/{1}',
    '/{x=}',
    '/{x}/{x}',
    '/{a}/{b}/{c}/{d}/{e}/{f}',
    '/a b',
    '/*a/b',
    '/a*',
    '/a//b',
  ])('is none: "%s"', (template) => {
    expect(compile(template).problems).toEqual([expect.stringContaining('uri_template.typed_config.path_template: ')]);
  });

  it('is compiled or refused whatever it is', () => {
    fc.assert(
      fc.property(fc.array(fc.constantFrom('/', '*', '**', '{a}', '{b=*}', 'x', '.', '(', '[', '\\', '='), { maxLength: 12 }), (parts) => {
        const { matches, problems } = compile(`/${parts.join('')}`);
        expect(problems.length).toBeLessThan(2);
        matches('/x/y');
      }),
    );
  });
});
