import { destination, type Logger, pino } from 'pino';
import type { Config } from '../config.js';

/** Logs as JSON lines on stderr, since stdout belongs to results. Synchronous, so that no line is lost at exit. */
export function createLogger(level: Config['logLevel']): Logger {
  return pino({ level, base: null }, destination({ dest: 2, sync: true }));
}
