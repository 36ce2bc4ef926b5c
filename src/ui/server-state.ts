/** What the page knows of its server. */

export type KnownModel = {
  readonly id: string;
  readonly state: string;
  /** The model that an alias stands for. */
  readonly root?: string;
  readonly max_model_len?: number;
  readonly recipe?: {
    readonly name?: string;
    readonly architecture: string;
    /** Shares of the weights' bytes by format. */
    readonly weights: Readonly<Record<string, number>>;
    readonly activations: string;
  };
};

export type ServerState = {
  readonly models: readonly KnownModel[];
  /** Whether answers can say what they cost. */
  readonly hasEnergy: boolean;
  /** API key; empty where none is needed. */
  readonly key: string;
  /** Asks the server for its models again. */
  readonly refresh: () => void;
};
