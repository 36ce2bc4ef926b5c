/** A JSON result of another `nibble` command, as docs/schemas describe it. */
export type Result = Readonly<Record<string, unknown>>;

/** Head, the field that is shown (`ttftMs.p50` for one inside another), and `%` for shares. */
export type Column = readonly [head: string, path: string, unit?: '%'];

export type Table = {
  /** Field with the rows, a list or one object; `.` for the result itself. */
  readonly rows: string;
  readonly columns: readonly Column[];
};

/** One command of the whole, and what of its result is shown. */
export type Section = {
  readonly name: string;
  readonly title: string;
  /** What a reader must know before the figures; Markdown. */
  readonly about: string;
  /** Arguments of `nibble`, without `--json` and the settings. */
  readonly args: readonly string[];
  /** Whether the command opens a model and takes its settings. */
  readonly takesSettings: boolean;
  /** Instruction-set level that is asked for; without it the machine's own. */
  readonly isa?: string;
  readonly tables: readonly Table[];
};

/** A section that was run: its result, or why there is none. */
export type Outcome = {
  readonly section: Section;
  /** The command line as a user would write it. */
  readonly command: string;
  readonly seconds: number;
  readonly result: Result | null;
  readonly failure: string | null;
};

/** A figure that the project asks of itself. */
export type Target = {
  readonly what: string;
  readonly section: string;
  /** Field with the rows; default `runs`. */
  readonly rows?: string;
  /** Fields that tell the row: the first that agrees with all counts. */
  readonly where: Result;
  readonly path: string;
  readonly unit?: '%';
  /** One of the two. */
  readonly atLeast?: number;
  readonly atMost?: number;
  /** Why it falls short where it does, and the next idea. */
  readonly otherwise: string;
};
