/**
 * Lays rows out in columns, three spaces apart as kubectl and istioctl do; the last column is not padded. Widths ignore colour codes.
 * Without rows only the header is printed.
 */
export function formatTable(header: readonly string[], rows: readonly (readonly string[])[]): string {
  const lines = [header, ...rows];
  const widths = header.map((_, column) => Math.max(...lines.map((cells) => visibleLength(cells[column] ?? ''))));
  return lines.map((cells) => formatRow(cells, widths)).join('');
}

const GAP = '   ';
// biome-ignore lint/suspicious/noControlCharactersInRegex: colour codes begin with the escape character
const COLOUR = /\u001b\[[0-9;]*m/g;

function formatRow(cells: readonly string[], widths: readonly number[]): string {
  const padded = widths.map((width, column) => {
    const cell = cells[column] ?? '';
    return cell + ' '.repeat(width - visibleLength(cell));
  });
  return `${padded.join(GAP).trimEnd()}\n`;
}

function visibleLength(text: string): number {
  return text.replace(COLOUR, '').length;
}
