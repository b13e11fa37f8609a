export { createProductpage, type ProductpageOptions } from './productpage.ts';
export { readProductpageOptions } from './settings.ts';
