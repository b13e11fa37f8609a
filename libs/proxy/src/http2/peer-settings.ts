import { DEFAULT_WINDOW_BYTES, ERROR, MAX_FRAME_BYTES, MAX_WINDOW_BYTES, SETTING } from './frames.ts';

const SETTING_BYTES = 6;

/** What the peer's SETTINGS said so far. Larger frames are never used: they would only make streams wait for each other. */
export class PeerSettings {
  isKnown = false;
  headerTableBytes = 4096;
  maxConcurrentStreams = Number.POSITIVE_INFINITY;
  windowBytes = DEFAULT_WINDOW_BYTES;
  /** Extended CONNECT (RFC 8441). */
  allowsConnect = false;

  /** Takes the payload of a SETTINGS frame; returns the error that it is, or `noError`. Source: RFC 9113 §6.5. */
  apply(bytes: Buffer, start: number, length: number): number {
    if (length % SETTING_BYTES !== 0) return ERROR.frameSizeError;
    for (let at = start; at < start + length; at += SETTING_BYTES) {
      const error = this.#applyOne(bytes.readUInt16BE(at), bytes.readUInt32BE(at + 2));
      if (error !== ERROR.noError) return error;
    }
    this.isKnown = true;
    return ERROR.noError;
  }

  #applyOne(id: number, value: number): number {
    switch (id) {
      case SETTING.headerTableSize:
        this.headerTableBytes = value;
        break;
      case SETTING.enablePush:
        if (value > 1) return ERROR.protocolError;
        break;
      case SETTING.maxConcurrentStreams:
        this.maxConcurrentStreams = value;
        break;
      case SETTING.initialWindowSize:
        if (value > MAX_WINDOW_BYTES) return ERROR.flowControlError;
        this.windowBytes = value;
        break;
      case SETTING.maxFrameSize:
        if (value < MAX_FRAME_BYTES || value > 2 ** 24 - 1) return ERROR.protocolError;
        break;
      case SETTING.enableConnectProtocol:
        if (value > 1 || (value === 0 && this.allowsConnect)) return ERROR.protocolError;
        this.allowsConnect = value === 1;
        break;
      // Others are extensions (RFC 9113 §6.5.2).
    }
    return ERROR.noError;
  }
}

/** The payload of a SETTINGS frame. */
export function encodeSettings(settings: readonly (readonly [id: number, value: number])[]): Buffer {
  const payload = Buffer.alloc(settings.length * SETTING_BYTES);
  settings.forEach(([id, value], index) => {
    payload.writeUInt16BE(id, index * SETTING_BYTES);
    payload.writeUInt32BE(value, index * SETTING_BYTES + 2);
  });
  return payload;
}
