import { SingleBar } from 'cli-progress';

/** What a long command is at, on stderr: a bar on a terminal, a line per step (at most ten a phase) elsewhere. */
export type Progress = {
  /** Starts a phase of `total` steps. */
  start(label: string, total: number): void;
  /** `done` steps of the phase are behind; `note` is shown beside them. */
  update(done: number, note?: string): void;
  /** Ends the phase; safe to call at any time. */
  stop(): void;
};

export function createProgress(stream: NodeJS.WriteStream = process.stderr): Progress {
  const format = '{label} |{bar}| {value}/{total} {note}';
  const bar = stream.isTTY === true ? new SingleBar({ format, stream, hideCursor: true, clearOnComplete: true }) : null;
  let label = '';
  let total = 1;
  let nextShare = 0;
  let isRunning = false;
  return {
    start(newLabel, newTotal) {
      if (isRunning) bar?.stop();
      label = newLabel;
      total = Math.max(1, newTotal);
      nextShare = 0.1;
      isRunning = true;
      if (bar === null) stream.write(`${label} …\n`);
      else bar.start(total, 0, { label, note: '' });
    },
    update(done, note = '') {
      bar?.update(done, { note });
      const share = done / total;
      if (bar !== null || share < nextShare) return;
      stream.write(`${label}: ${done}/${total} ${note}\n`);
      nextShare = Math.floor(share * 10 + 1) / 10;
    },
    stop() {
      if (isRunning) bar?.stop();
      isRunning = false;
    },
  };
}
