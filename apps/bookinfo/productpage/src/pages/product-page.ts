import { type Html, html } from '../html.ts';
import { type Product, productDescription } from '../products.ts';
import type { UpstreamAnswer } from '../upstreams.ts';
import { renderDetails } from './details.ts';
import { renderLayout } from './layout.ts';
import { renderReviews } from './reviews.ts';

export interface ProductPage {
  readonly product: Product;
  readonly details: UpstreamAnswer;
  readonly reviews: UpstreamAnswer;
  readonly user: string | undefined;
}

/** The page about one book. A part that is missing says so; the rest is shown. */
export function renderProductPage(page: ProductPage): Html {
  return renderLayout({
    title: `${page.product.title} – Simple Bookstore App`,
    headerEnd: renderLogin(page.user),
    main: html`<section class="hero">
<img class="cover" src="/static/img/cover.svg" alt="" width="200" height="290">
<div>
<p class="eyebrow">William Shakespeare</p>
<h1 id="product-title">${page.product.title}</h1>
<p class="summary" id="product-summary">${productDescription(page.product)}</p>
</div>
</section>
<div class="columns">
<section class="card" id="book-details" aria-labelledby="details-heading">
${renderDetails(page.details)}
</section>
<section class="card" id="book-reviews" aria-labelledby="reviews-heading">
${renderReviews(page.reviews)}
</section>
</div>`,
  });
}

function renderLogin(user: string | undefined): Html {
  if (user !== undefined) {
    return html`<span class="user"><span class="avatar" aria-hidden="true">${[...user][0]?.toUpperCase()}</span><span id="user-name">${user}</span></span>
<a class="button button-quiet" id="logout-button" href="/logout">Sign out</a>`;
  }
  return html`<button class="button" id="login-button" type="button" popovertarget="login-dialog">Sign in</button>
<dialog id="login-dialog" popover aria-labelledby="login-heading">
<form method="post" action="/login" id="login-form">
<h2 id="login-heading">Please sign in</h2>
<label for="username">User name</label>
<input id="username" name="username" autocomplete="username" required autofocus maxlength="64">
<label for="password">Password</label>
<input id="password" name="passwd" type="password" autocomplete="current-password" aria-describedby="password-hint">
<p class="hint" id="password-hint">Any password will do: this is a sample.</p>
<div class="dialog-actions">
<button class="button button-quiet" type="button" popovertarget="login-dialog" popovertargetaction="hide">Cancel</button>
<button class="button" type="submit">Sign in</button>
</div>
</form>
</dialog>`;
}
