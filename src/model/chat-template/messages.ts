/** What crosses between the event loop and the thread of a chat template. */

export type TemplateSource = {
  readonly source: string;
  /** Variables of every rendering: the texts of BOS and EOS. */
  readonly constants: Readonly<Record<string, string>>;
  readonly charsMax: number;
};

/** `ready` comes once, when the thread has loaded what it needs. */
export type TemplateAnswer =
  | { readonly kind: 'ready' }
  | { readonly kind: 'text'; readonly text: string }
  | { readonly kind: 'failed'; readonly message: string };
