export { createDetails, type DetailsOptions } from './details.ts';
export type { BookDetails, ExternalBookService } from './external-book-service.ts';
export { readDetailsOptions } from './settings.ts';
