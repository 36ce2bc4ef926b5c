/** What goes between `bench peers` and the process that runs the peer. */
export type PeerRequest =
  | {
      readonly kind: 'load';
      /** URL of the peer's entry module. */
      readonly entry: string;
      readonly modelPath: string;
      readonly threads: number;
      readonly contextTokens: number;
    }
  | { readonly kind: 'run'; readonly tokens: readonly number[]; readonly generate: number };

export type PeerAnswer =
  | { readonly kind: 'loaded' }
  | { readonly kind: 'ran'; readonly prefillSeconds: number; readonly decodeSeconds: number }
  | { readonly kind: 'failed'; readonly message: string };
