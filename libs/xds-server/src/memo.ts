/** Computes once for each argument object and keeps the value for as long as that object lives. */
export function memoized<A extends WeakKey, V>(compute: (argument: A) => V): (argument: A) => V {
  const known = new WeakMap<A, V>();
  return (argument) => {
    const present = known.get(argument);
    if (present !== undefined) return present;
    const value = compute(argument);
    known.set(argument, value);
    return value;
  };
}

/** The same for two objects. */
export function memoizedPair<A extends WeakKey, B extends WeakKey, V>(compute: (a: A, b: B) => V): (a: A, b: B) => V {
  const ofFirst = memoized((a: A) => memoized((b: B) => compute(a, b)));
  return (a, b) => ofFirst(a)(b);
}
