import { createHash } from 'node:crypto';
import { open } from 'node:fs/promises';

/** Pieces of a file that are looked at, and the size of each, bytes: a few milliseconds for a file of any size. */
const PIECES = 64;
const PIECE_BYTES = 4096;

/**
 * Hexadecimal SHA-256 of a file's size and of pieces spread evenly over it, the first and the last bytes among them.
 * The same for copies of a file; another for any other quantization or training of a model, which changes bytes
 * everywhere.
 */
export async function contentSample(path: string): Promise<string> {
  const file = await open(path, 'r');
  try {
    const { size } = await file.stat();
    const hash = createHash('sha256').update(`${size}\n`);
    const piece = Buffer.alloc(Math.min(PIECE_BYTES, size));
    for (let i = 0; i < PIECES; i++) {
      const position = Math.floor(((size - piece.length) * i) / (PIECES - 1));
      const { bytesRead } = await file.read(piece, 0, piece.length, position);
      hash.update(piece.subarray(0, bytesRead));
    }
    return hash.digest('hex');
  } finally {
    await file.close();
  }
}
