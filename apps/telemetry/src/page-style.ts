/** Style of the page, in the page, so that it is one response without anything from elsewhere. */
export const PAGE_STYLE = `
:root { color-scheme: light dark; --page: #f3f6f8; --surface: #fff; --ink: #17232c; --soft: #5b6b77; --line: #dde5ea; --accent: #0f6a8b; --good: #1b7f4b; --bad: #c02f37; --warn: #a86400; }
@media (prefers-color-scheme: dark) { :root { --page: #10171c; --surface: #182229; --ink: #e5edf2; --soft: #97a8b4; --line: #2a3842; --accent: #6cc5e6; --good: #5fd196; --bad: #ff8087; --warn: #f0b45c; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink); font: 1rem/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
header, main, footer { max-width: 96rem; margin: 0 auto; padding: 1.25rem clamp(1rem, 3vw, 2.5rem); }
header { display: flex; flex-wrap: wrap; gap: 1rem; align-items: center; justify-content: space-between; padding-bottom: 0; }
h1 { margin: 0; font-size: 1.6rem; letter-spacing: -.01em; }
a { color: var(--accent); text-underline-offset: .2em; }
:focus-visible { outline: 3px solid var(--accent); outline-offset: 2px; border-radius: 4px; }
nav { display: flex; border: 1px solid var(--line); border-radius: 999px; overflow: hidden; background: var(--surface); }
nav a { padding: .35rem .95rem; text-decoration: none; font-size: .9rem; }
nav a[aria-current] { background: var(--accent); color: var(--surface); font-weight: 600; }
.totals { display: grid; grid-template-columns: repeat(auto-fit, minmax(11rem, 1fr)); gap: 1rem; margin: 0 0 1.25rem; }
.totals div { padding: 1rem 1.25rem; background: var(--surface); border: 1px solid var(--line); border-radius: 12px; }
.totals dt { color: var(--soft); font-size: .85rem; }
.totals dd { margin: 0; font-size: 1.6rem; font-weight: 650; font-variant-numeric: tabular-nums; }
.table-scroll { overflow-x: auto; background: var(--surface); border: 1px solid var(--line); border-radius: 12px; }
table { width: 100%; border-collapse: collapse; font-size: .84rem; text-align: left; }
th, td { padding: .6rem .5rem; border-top: 1px solid var(--line); white-space: nowrap; }
thead th { border-top: 0; color: var(--soft); font-weight: 500; }
th:first-child, td:first-child { padding-left: 1rem; }
tbody th { font-weight: 600; }
@media (max-width: 62rem) { :is(th, td):is(:nth-child(3), :nth-child(4), :nth-child(7), :nth-child(8)) { display: none; } }
.number { text-align: right; font-variant-numeric: tabular-nums; }
.bad { color: var(--bad); font-weight: 600; }
.badge { padding: .1rem .6rem; border: 1px solid currentcolor; border-radius: 999px; font-size: .8rem; }
.badge.mutual_tls { color: var(--good); }
.badge.none { color: var(--bad); }
.badge.unknown { color: var(--warn); }
.empty { padding: 3rem 1rem; text-align: center; color: var(--soft); background: var(--surface); border: 1px dashed var(--line); border-radius: 12px; }
footer { color: var(--soft); font-size: .88rem; }
footer a { margin-left: .6rem; }
`;
