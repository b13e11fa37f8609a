import { type Html, html } from '../html.ts';
import type { UpstreamsOptions } from '../upstreams.ts';
import { renderLayout } from './layout.ts';

/** What is served here, and the services behind it. */
export function renderIndexPage(origins: UpstreamsOptions['origins']): Html {
  const services = [
    { name: 'productpage', address: 'this service', calls: 'details, reviews' },
    { name: 'details', address: origins.details, calls: 'none' },
    { name: 'reviews', address: origins.reviews, calls: 'ratings (v2 and v3)' },
    { name: 'ratings', address: origins.ratings, calls: 'none' },
  ];
  return renderLayout({
    title: 'BookInfo Sample',
    main: html`<section class="hero hero-plain">
<div>
<p class="eyebrow">A sample for service meshes</p>
<h1>Hello! This is a page about one book, made by four services.</h1>
<p class="summary">Which of them answered, and how, is up to what lies between them.</p>
<p><a class="button" id="open-productpage" href="/productpage">Open the product page</a></p>
</div>
</section>
<section class="card" aria-labelledby="services-heading">
<h2 id="services-heading">Services</h2>
<div class="table-scroll">
<table id="services" class="services">
<thead><tr><th scope="col">Service</th><th scope="col">Address</th><th scope="col">Calls</th></tr></thead>
<tbody>
${services.map(({ name, address, calls }) => html`<tr><th scope="row">${name}</th><td><code>${address}</code></td><td>${calls}</td></tr>\n`)}</tbody>
</table>
</div>
</section>`,
  });
}
