/** A table for people: right-aligned columns under their heads. */
export function formatTable(heads: readonly string[], rows: readonly (readonly (string | number)[])[]): string {
  const lines = [heads, ...rows.map((row) => row.map((value) => formatValue(value)))];
  const widths = heads.map((_, column) => Math.max(...lines.map((line) => (line[column] ?? '').length)));
  const format = (line: readonly string[]) => widths.map((width, i) => (line[i] ?? '').padStart(width)).join('  ');
  return `${lines.map(format).join('\n')}\n`;
}

function formatValue(value: string | number): string {
  if (typeof value === 'string') return value;
  if (!Number.isFinite(value)) return '–';
  if (Number.isInteger(value)) return String(value);
  return Math.abs(value) >= 100 ? value.toFixed(0) : Math.abs(value) >= 10 ? value.toFixed(1) : value.toFixed(3);
}

export const percent = (share: number): string => `${(100 * share).toFixed(1)} %`;
