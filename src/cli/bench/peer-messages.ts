/**
 * What goes between `bench peers` and the program that runs a peer: one JSON object a line, requests on its standard
 * input, answers on its file descriptor 3 (engines print what they like on the other two). It ends when its input does.
 */
export type PeerRequest =
  | {
      readonly kind: 'load';
      readonly modelPath: string;
      readonly threads: number;
      /** Sequences that are decoded together. */
      readonly sequences: number;
      /** Prompt and generated tokens of each. */
      readonly tokensMax: number;
    }
  | {
      readonly kind: 'run';
      /** Token ids of each sequence. Its time ends when the logits after the last token are there. */
      readonly prompts: readonly (readonly number[])[];
      /** Steps of one token of every sequence; which tokens is the peer's choice. */
      readonly generate: number;
    };

export type PeerAnswer =
  | {
      readonly kind: 'loaded';
      /** How the peer was set up, for the report. */
      readonly settings: string;
    }
  | { readonly kind: 'ran'; readonly prefillSeconds: number; readonly decodeSeconds: number }
  | { readonly kind: 'failed'; readonly message: string };
