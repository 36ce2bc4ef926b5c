/**
 * KV blocks of pinned prefixes on disk, so that a restart needn't compute them; docs/decisions/0026-pinned-prefixes.md.
 *
 *   magic [16] · SHA-256 of the identity [32] · per block: SHA-256 [32], content [info.kvBlockBytes]
 *
 * A file's name is the identity's hash. Nothing in it is believed: its length follows from model and prefix, and each
 * block's hash covers the identity, its place and its content.
 */
import { createHash, randomBytes } from 'node:crypto';
import { type FileHandle, mkdir, open, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';

const MAGIC = Buffer.from('nibble prefix 1\n');
const HASH_BYTES = 32;

/** A prefix's blocks as a file: which model state they belong to, and how large they are. */
export type StoredPrefix = {
  readonly folder: string;
  /** Everything that the content depends on. */
  readonly identity: string;
  readonly blockCount: number;
  readonly blockBytes: number;
};

const digest = (...parts: readonly (string | Uint8Array)[]): Buffer => {
  const hash = createHash('sha256');
  for (const part of parts) hash.update(part);
  return hash.digest();
};

const pathOf = ({ folder, identity }: StoredPrefix): string =>
  join(folder, `${digest(identity).toString('hex').slice(0, 32)}.prefix`);

const headOf = ({ identity }: StoredPrefix): Buffer => Buffer.concat([MAGIC, digest(identity)]);

const blockHash = (head: Buffer, index: number, content: Uint8Array): Buffer => digest(head, `${index}\n`, content);

/** `length` bytes from `position` on, or null if the file ends before. */
async function readExactly(file: FileHandle, position: number, length: number): Promise<Buffer | null> {
  const bytes = Buffer.allocUnsafe(length);
  for (let done = 0; done < length; ) {
    const { bytesRead } = await file.read(bytes, done, length - done, position + done);
    if (bytesRead === 0) return null;
    done += bytesRead;
  }
  return bytes;
}

/**
 * Gives the blocks from `first` on to `take`, in order, until one is damaged or `take` says false; a file that isn't
 * whole is removed. Returns whether every block was right. Without a file nothing happens.
 */
export async function readPrefix(
  stored: StoredPrefix,
  first: number,
  take: (content: Uint8Array) => boolean,
): Promise<boolean> {
  const path = pathOf(stored);
  const file = await open(path, 'r').catch(() => null);
  if (file === null) return false;
  let isWhole = false;
  try {
    isWhole = await readBlocks(file, stored, first, take);
    // Used now: the folder's bound evicts what was used longest ago.
    if (isWhole) await file.utimes(new Date(), new Date()).catch(() => undefined);
  } finally {
    await file.close();
    if (!isWhole) await rm(path, { force: true });
  }
  return isWhole;
}

async function readBlocks(
  file: FileHandle,
  stored: StoredPrefix,
  first: number,
  take: (content: Uint8Array) => boolean,
): Promise<boolean> {
  const head = headOf(stored);
  const { blockBytes, blockCount } = stored;
  const stride = HASH_BYTES + blockBytes;
  const status = await file.stat();
  // Whoever else could write it could also make its hashes right.
  const isOurs = [0, process.geteuid?.() ?? status.uid].includes(status.uid) && (status.mode & 0o022) === 0;
  if (!isOurs || !status.isFile() || status.size !== head.length + blockCount * stride) return false;
  const found = await readExactly(file, 0, head.length);
  if (found === null || !found.equals(head)) return false;
  for (let index = first; index < blockCount; index++) {
    const block = await readExactly(file, head.length + index * stride, stride);
    if (block === null) return false;
    const content = block.subarray(HASH_BYTES);
    if (!blockHash(head, index, content).equals(block.subarray(0, HASH_BYTES))) return false;
    if (!take(content)) return true;
  }
  return true;
}

/** Bytes of the file that `writePrefix` makes. */
export const storedBytes = (stored: StoredPrefix): number =>
  headOf(stored).length + stored.blockCount * (HASH_BYTES + stored.blockBytes);

/** Writes the file under another name, then renames it: readers see a whole one or none. */
export async function writePrefix(stored: StoredPrefix, content: (index: number) => Uint8Array): Promise<void> {
  await mkdir(stored.folder, { recursive: true, mode: 0o700 });
  const path = pathOf(stored);
  const temporary = `${path}.${randomBytes(6).toString('hex')}.tmp`;
  const head = headOf(stored);
  try {
    const file = await open(temporary, 'wx', 0o600);
    try {
      await file.appendFile(head);
      for (let index = 0; index < stored.blockCount; index++) {
        const block = content(index);
        await file.appendFile(blockHash(head, index, block));
        await file.appendFile(block);
      }
    } finally {
      await file.close();
    }
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
}
