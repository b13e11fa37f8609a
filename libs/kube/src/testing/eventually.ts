/** Resolves with what `read` finds, once it finds something: looks again after each turn of the event loop. */
export function eventually<T>(read: () => T | undefined): Promise<T> {
  return new Promise((resolve) => {
    const look = (): void => {
      const found = read();
      if (found === undefined) setImmediate(look);
      else resolve(found);
    };
    look();
  });
}
