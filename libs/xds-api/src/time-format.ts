const TIME_PARTS: Readonly<Record<string, (date: Date) => string>> = {
  Y: (date) => String(date.getUTCFullYear()),
  y: (date) => two(date.getUTCFullYear() % 100),
  m: (date) => two(date.getUTCMonth() + 1),
  d: (date) => two(date.getUTCDate()),
  e: (date) => String(date.getUTCDate()).padStart(2, ' '),
  H: (date) => two(date.getUTCHours()),
  I: (date) => two(date.getUTCHours() % 12 || 12),
  M: (date) => two(date.getUTCMinutes()),
  S: (date) => two(date.getUTCSeconds()),
  p: (date) => (date.getUTCHours() < 12 ? 'AM' : 'PM'),
  j: (date) => String(Math.floor((date.getTime() - Date.UTC(date.getUTCFullYear(), 0, 1)) / 86_400_000) + 1).padStart(3, '0'),
  a: (date) => DAYS.slice(date.getUTCDay() * 3, date.getUTCDay() * 3 + 3),
  b: (date) => MONTHS.slice(date.getUTCMonth() * 3, date.getUTCMonth() * 3 + 3),
  h: (date) => MONTHS.slice(date.getUTCMonth() * 3, date.getUTCMonth() * 3 + 3),
  D: (date) => `${two(date.getUTCMonth() + 1)}/${two(date.getUTCDate())}/${two(date.getUTCFullYear() % 100)}`,
  F: (date) => date.toISOString().slice(0, 10),
  R: (date) => date.toISOString().slice(11, 16),
  T: (date) => date.toISOString().slice(11, 19),
  s: (date) => String(Math.floor(date.getTime() / 1000)),
  n: () => '\n',
  t: () => '\t',
  z: () => '+0000',
  Z: () => 'UTC',
};

const DAYS = 'SunMonTueWedThuFriSat';
const MONTHS = 'JanFebMarAprMayJunJulAugSepOctNovDec';

function two(value: number): string {
  return String(value).padStart(2, '0');
}

/**
 * How a time (milliseconds since 1970) is written: strftime's commands, Envoy's `%3f` (milliseconds) to `%9f` and absl's `%E3S` (seconds with a fraction), in UTC; '' is ISO 8601 with
 * milliseconds. Throws for a command that is not known. Source: envoy DateFormatter (1.40).
 */
export function compileTimeFormat(format: string): (timeMs: number) => string {
  if (format === '') return (timeMs) => new Date(timeMs).toISOString();
  const parts = [...format.matchAll(/%(\d?)f|%E([\d*])([Sf])|%(%)|%([A-Za-z])|([^%]+|%)/g)].map(
    ([, digits, places, place, percent, command, text]): string | ((date: Date) => string) => {
      if (digits !== undefined) return fraction(Number(digits || '9'));
      if (places !== undefined) return secondsWithFraction(places, place === 'S');
      if (percent !== undefined) return '%';
      if (command === undefined) return text as string;
      const part = TIME_PARTS[command];
      if (part === undefined) throw new Error(`time format %${command} is not supported`);
      return part;
    },
  );
  return (timeMs) => {
    const date = new Date(timeMs);
    return parts.map((part) => (typeof part === 'string' ? part : part(date))).join('');
  };
}

function fraction(digits: number): (date: Date) => string {
  return (date) => String(date.getUTCMilliseconds()).padStart(3, '0').padEnd(9, '0').slice(0, digits);
}

function secondsWithFraction(places: string, withSeconds: boolean): (date: Date) => string {
  const digits = places === '*' ? 3 : Number(places);
  return (date) => `${withSeconds ? `${two(date.getUTCSeconds())}${digits === 0 ? '' : '.'}` : ''}${fraction(digits)(date)}`;
}
