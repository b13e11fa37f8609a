export { MISBEHAVIOURS, type Misbehaviour, type MisbehaviourInputs } from './misbehaviour.ts';
export { createRatings, type RatingsOptions } from './ratings.ts';
export { readRatingsOptions } from './settings.ts';
export { type Ratings, type RatingsStore, StoreError } from './store.ts';
