/** Code blocks and links of our Markdown pages. */

export type Block = {
  readonly text: string;
  /** What stands behind the language, for tests alone: pages don't show it. */
  readonly tags: readonly string[];
};

/** The fenced blocks of a language, in order. */
export function blocksOf(markdown: string, language: string): readonly Block[] {
  return [...markdown.matchAll(/^```(\w*)(| [^\n]*)\n(.*?)^```$/gms)]
    .filter(([, name]) => name === language)
    .map(([, , tags = '', text = '']) => ({ text, tags: tags.split(' ').filter((tag) => tag !== '') }));
}

/** Their texts alone. */
export function codeBlocks(markdown: string, language: string): readonly string[] {
  return blocksOf(markdown, language).map(({ text }) => text);
}

/** Targets of links, without those inside code. */
export function links(markdown: string): readonly string[] {
  const prose = markdown.replace(/^```.*?^```$/gms, '').replace(/`[^`\n]*`/g, '');
  return [...prose.matchAll(/\]\(([^)\s]+)\)/g)].map(([, target]) => target ?? '');
}
