import { describe, expect, it } from '@jest/globals';
import { html } from './html.ts';

describe('html', () => {
  it('escapes values, and not what html made', () => {
    expect(html`<p title="${'"a" & \'b\''}">${html`<b>${'<script>'}</b>`}</p>`.text).toBe(
      '<p title="&#34;a&#34; &#38; &#39;b&#39;"><b>&#60;script&#62;</b></p>',
    );
  });

  it('joins lists and leaves out what is absent', () => {
    expect(html`${[1, 2].map((n) => html`<i>${n}</i>`)}${undefined}`.text).toBe('<i>1</i><i>2</i>');
  });
});
