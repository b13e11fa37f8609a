import { type Html, type HtmlPart, html } from '../html.ts';

/** The frame of every page: head, header with what is on its right, main, footer. */
export function renderLayout(page: { title: string; headerEnd?: HtmlPart; main: Html }): Html {
  return html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>${page.title}</title>
<link rel="stylesheet" href="/static/bookinfo.css">
<link rel="icon" href="/static/img/bookinfo.svg" type="image/svg+xml">
</head>
<body>
<a class="skip-link" href="#main">Skip to the book</a>
<header class="site-header">
<a class="brand" href="/productpage"><img src="/static/img/bookinfo.svg" alt="" width="32" height="32">BookInfo Sample</a>
<div class="header-end">${page.headerEnd}</div>
</header>
<main id="main">
${page.main}
</main>
<footer class="site-footer">A sample of four services: productpage, details, reviews and ratings.</footer>
</body>
</html>
`;
}
