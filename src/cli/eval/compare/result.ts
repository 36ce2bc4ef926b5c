/** What a comparison found: plain data, the same for the table, the JSON and the report. */
import type { EnergySource } from '../../../metering/types.js';
import type { Machine } from '../../output.js';
import type { Protocol } from '../windows.js';
import type { Quality } from './quality.js';
import type { Speed } from './speed.js';

export type ComparedModel = {
  readonly name: string;
  readonly fileBytes: number;
  /** Null for the reference: it is what the others are compared with. */
  readonly quality: Quality | null;
  /** Null if no speed was wanted. */
  readonly speed: Speed | null;
};

export type Comparison = {
  readonly machine: Machine;
  readonly commit: string;
  readonly date: string;
  readonly command: string;
  readonly data: { readonly path: string; readonly sha256: string };
  readonly windowTokens: number;
  readonly windows: number;
  readonly protocol: Protocol;
  /** Rounds of the speeds. */
  readonly rounds: number;
  /** What energy is measured with; null without a meter. */
  readonly energy: { readonly source: EnergySource; readonly meter: string } | null;
  readonly reference: ComparedModel & { readonly perplexity: number; readonly standardError: number };
  readonly candidates: readonly (ComparedModel & { readonly quality: Quality })[];
};
