import { fromBinary, type JsonValue, toJson } from '@bufbuild/protobuf';
import { errorMessage, Watchable } from '@mizzen/core';
import type { XdsRejection, XdsUpdate } from '@mizzen/xds-api';
import { type NameTable, NameTableSchema } from '@mizzen/xds-api/istio/networking/nds/v1/nds';
import { buildNameIndex, type NameContext, type NameIndex } from './name-index.ts';

/** What the control plane said of names, and the index over it. */
export class NameTables {
  readonly index = new Watchable<NameIndex | undefined>(undefined);
  readonly #context: NameContext;
  readonly #tables = new Map<string, NameTable>();

  constructor(context: NameContext) {
    this.#context = context;
  }

  /** Takes an update of NDS. What cannot be read leaves the table before it in force. */
  apply(update: XdsUpdate): readonly XdsRejection[] {
    const rejections: XdsRejection[] = [];
    for (const name of update.removed) this.#tables.delete(name);
    for (const { name, body } of update.upserts) {
      try {
        this.#tables.set(name, fromBinary(NameTableSchema, body.value));
      } catch (thrown) {
        rejections.push({ name, reason: `the name table cannot be read: ${errorMessage(thrown)}` });
      }
    }
    if (rejections.length === 0 || this.#tables.size > 0) this.index.set(buildNameIndex(this.#tables.values(), this.#context));
    return rejections;
  }

  /** As `/debug/ndsz` shows it; undefined before the first. */
  toJson(): string | undefined {
    if (this.index.value === undefined) return undefined;
    const table = Object.assign({}, ...[...this.#tables.values()].map((each) => (toJson(NameTableSchema, each) as TableJson).table ?? {}));
    return JSON.stringify({ table });
  }
}

interface TableJson {
  readonly table?: Record<string, JsonValue>;
}
