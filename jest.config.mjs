export default {
  testMatch: ['<rootDir>/{apps,libs,tools}/**/*.spec.ts'],
  modulePathIgnorePatterns: ['<rootDir>/.mizzen', '<rootDir>/.nx'],
  extensionsToTreatAsEsm: ['.ts'],
  moduleFileExtensions: ['ts', 'mjs', 'js', 'cjs', 'json'],
  transform: { '^.+\\.ts$': '<rootDir>/tools/testing/strip-types.cjs' },
  transformIgnorePatterns: ['/node_modules/'],
  testEnvironment: 'node',
  testTimeout: 60_000,
  workerIdleMemoryLimit: '900MB',
};
