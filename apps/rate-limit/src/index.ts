export { rateLimitApp } from './app.ts';
export { type RateLimiter, type RateLimiterOptions, startRateLimiter } from './rate-limiter.ts';
