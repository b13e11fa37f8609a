import { errorMessage, parseDurationMs } from '@mizzen/core';
import { InvalidArgumentError, Option } from 'commander';

/** A port given by flag or by its environment variable (`--gateway-port`, `MIZZEN_GATEWAY_PORT`). 0 means any free one. */
export function portOption(flag: string, help: string, fallback: number): Option {
  return new Option(`${flag} <port>`, help).env(environmentName(flag)).default(fallback).argParser(parsePort);
}

export function environmentName(flag: string): string {
  return `MIZZEN_${flag.replace(/^--/, '').toUpperCase().replaceAll('-', '_')}`;
}

export function parsePort(text: string): number {
  const port = Number(text);
  if (!/^\d{1,5}$/.test(text) || port > 65_535) throw new InvalidArgumentError('It must be a port between 0 and 65535.');
  return port;
}

/** A duration given by flag, in ms. */
export function parseDuration(text: string): number {
  try {
    return parseDurationMs(text);
  } catch (thrown) {
    throw new InvalidArgumentError(`It ${errorMessage(thrown)}.`);
  }
}
