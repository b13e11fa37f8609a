/** One field that cannot be used, by its place in the message: `virtual_hosts[0].routes[2].match.safe_regex`. */
export interface FieldRejection {
  readonly path: string;
  readonly reason: string;
}

/** A place in a message that is being compiled. All places of one compilation share the list of rejections. */
export class Field {
  readonly path: string;
  readonly rejections: FieldRejection[];

  constructor(path: string, rejections: FieldRejection[]) {
    this.path = path;
    this.rejections = rejections;
  }

  child(name: string, index?: number): Field {
    const field = new Field(this.path === '' ? name : `${this.path}.${name}`, this.rejections);
    return index === undefined ? field : field.at(index);
  }

  /** An element of the list that this place is. */
  at(index: number): Field {
    return new Field(`${this.path}[${index}]`, this.rejections);
  }

  reject(reason: string): void {
    this.rejections.push({ path: this.path, reason });
  }
}

/** Rejects every field of `names` that is set. Silence would mean that traffic is handled in another way than was asked for. */
export function refuseFields<T extends object>(field: Field, message: T, names: readonly (keyof T & string)[]): void {
  for (const name of names) {
    if (isSet(message[name])) field.child(snakeCase(name)).reject('is not supported by this proxy; remove it');
  }
}

/** `virtual_hosts[0].name: reason; …`: what a NACK says. */
export function formatRejections(rejections: readonly FieldRejection[]): string {
  return rejections.map(({ path, reason }) => (path === '' ? reason : `${path}: ${reason}`)).join('; ');
}

function isSet(value: unknown): boolean {
  if (value === undefined || value === null || value === '' || value === 0 || value === 0n || value === false) return false;
  if (Array.isArray(value)) return value.length > 0;
  if (typeof value !== 'object') return true;
  if ('case' in value) return value.case !== undefined;
  if ('$typeName' in value) return true;
  return Object.keys(value).length > 0;
}

function snakeCase(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}
