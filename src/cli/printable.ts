/**
 * Text from outside (model files, servers, models) for a terminal: control characters that would move its
 * cursor, change its colours or answer in the user's name are spelt out.
 */
export function printable(text: string): string {
  const controls = /(?![\t\n])[\p{Cc}\u202a-\u202e\u2066-\u2069]/gu;
  return text.replace(controls, (sign) => `\\u${sign.charCodeAt(0).toString(16).padStart(4, '0')}`);
}
