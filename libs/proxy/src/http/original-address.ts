import { isIP } from 'node:net';
import type { Field } from '@mizzen/matching';
import { unpackAny } from '@mizzen/xds-api';
import type { TypedExtensionConfig } from '@mizzen/xds-api/envoy/config/core/v3/extension';
import { CustomHeaderConfigSchema } from '@mizzen/xds-api/envoy/extensions/http/original_ip_detection/custom_header/v3/custom_header';
import { XffConfigSchema } from '@mizzen/xds-api/envoy/extensions/http/original_ip_detection/xff/v3/xff';
import type { HeaderMap } from './headers.ts';

/** Where a client says that it is. */
export interface ClientAddress {
  /** '' where nothing that could be believed was said. */
  readonly address: string;
  /** The address may make the request one from inside. */
  readonly mayBeInside: boolean;
  /** The address of the connection's peer is to be told to the upstream, behind what stands in x-forwarded-for. */
  readonly appendsPeer: boolean;
}

export interface RejectedAddress {
  readonly rejectStatus: number;
}

/** Reads the client's address out of headers; undefined: ask the next one. Source: envoy OriginalIPDetection (1.40). */
export type AddressDetector = (headers: HeaderMap) => ClientAddress | RejectedAddress | undefined;

export function compileAddressDetectors(
  extensions: readonly TypedExtensionConfig[],
  usesRemoteAddress: boolean,
  field: Field,
): AddressDetector[] {
  if (extensions.length > 0 && usesRemoteAddress) field.reject('cannot be used together with use_remote_address');
  return extensions.map((extension, index) => compileDetector(extension, field.at(index)));
}

function compileDetector({ name, typedConfig }: TypedExtensionConfig, field: Field): AddressDetector {
  if (typedConfig !== undefined) {
    const xff = unpackAny(typedConfig, XffConfigSchema);
    if (xff !== undefined) return (headers) => forwardedAddress(headers.get('x-forwarded-for'), xff.xffNumTrustedHops);
    const custom = unpackAny(typedConfig, CustomHeaderConfigSchema);
    if (custom !== undefined) {
      if (custom.headerName === '') field.child('typed_config').child('header_name').reject('is required');
      return customHeader(custom.headerName.toLowerCase(), {
        isTrusted: custom.allowExtensionToSetAddressAsTrusted,
        rejectStatus: custom.rejectWithStatus === undefined ? undefined : rejectCode(custom.rejectWithStatus.code),
      });
    }
  }
  field.reject(`"${name}" is not a detection that this proxy has; it has original_ip_detection.xff and .custom_header`);
  return () => undefined;
}

/** The address that `trustedHops` proxies in front of this one vouch for. Source: envoy Utility::getLastAddressFromXFF (1.40). */
export function forwardedAddress(forwardedFor: string | undefined, trustedHops: number): ClientAddress | undefined {
  if (forwardedFor === undefined) return undefined;
  const hops = forwardedFor.split(',');
  const address = hops.at(-1 - trustedHops)?.trim() ?? '';
  if (isIP(address) === 0) return undefined;
  return { address, mayBeInside: hops.length === 1, appendsPeer: false };
}

function customHeader(name: string, options: { readonly isTrusted: boolean; readonly rejectStatus: number | undefined }): AddressDetector {
  const absent = options.rejectStatus === undefined ? undefined : { rejectStatus: options.rejectStatus };
  return (headers) => {
    const index = headers.names.indexOf(name);
    const address = index < 0 ? '' : (headers.values[index] as string);
    return isIP(address) === 0 ? absent : { address, mayBeInside: options.isTrusted, appendsPeer: false };
  };
}

// What is no refusal becomes one. Source: envoy CustomHeaderIPDetection::toErrorCode (1.40).
function rejectCode(code: number): number {
  return code >= 400 && code < 512 ? code : 403;
}
