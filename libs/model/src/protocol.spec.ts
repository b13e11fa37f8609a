import { describe, expect, it } from '@jest/globals';
import { selectProtocol } from './protocol.ts';

describe('selectProtocol', () => {
  it.each([
    [{ number: 80, name: 'http' }, 'http'],
    [{ number: 80, name: 'http-web' }, 'http'],
    [{ number: 80, name: 'httpweb' }, 'auto'],
    [{ number: 80, name: 'grpc-web' }, 'grpc-web'],
    [{ number: 80, name: 'grpc-web-x' }, 'grpc-web'],
    [{ number: 80, name: 'grpc-x' }, 'grpc'],
    [{ number: 80, name: 'TCP-x' }, 'tcp'],
    [{ number: 80, name: 'http', appProtocol: 'https' }, 'https'],
    [{ number: 80, name: 'http', appProtocol: 'kubernetes.io/h2c' }, 'http2'],
    [{ number: 80, name: 'http', appProtocol: 'example.com/mine' }, 'http'],
    [{ number: 3306, name: '' }, 'tcp'],
    [{ number: 3306, name: 'http' }, 'http'],
    [{ number: 80, name: '' }, 'auto'],
    [{ number: 53, name: 'http', transport: 'UDP' }, 'udp'],
  ])('%j is %s', (port, expected) => {
    expect(selectProtocol(port)).toBe(expected);
  });
});
