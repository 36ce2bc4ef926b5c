/**
 * How large the files of the sources are and how much of them is comment, as the table of docs/comparison.md.
 *
 * Usage: node tools/sizes.mjs
 */
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';

const parts = {
  '`src`': /^src\//,
  '`src/scheduler`': /^src\/scheduler\//,
  '`native/kernels`': /^native\/kernels\//,
  '`native`, the rest': /^native\/(?!kernels\/)/,
  '`test`': /^test\//,
};

const tracked = ['ls-files', '*.ts', '*.tsx', '*.cpp', '*.h'];
const files = execFileSync('git', tracked, { encoding: 'utf8' }).trim().split('\n');

/** Lines, and those that are nothing but comment or have code. */
function measure(file) {
  const lines = readFileSync(file, 'utf8').trimEnd().split('\n');
  let inBlock = false;
  let [comments, code] = [0, 0];
  for (const line of lines.map((text) => text.trim())) {
    if (line === '') continue;
    const isComment = inBlock || line.startsWith('//') || line.startsWith('/*');
    if (line.startsWith('/*')) inBlock = true;
    if (inBlock && line.includes('*/')) inBlock = false;
    if (isComment) comments += 1;
    else code += 1;
  }
  return { lines: lines.length, comments, code };
}

process.stdout.write('| Part | Files | Median lines | p90 | Longest | Comments |\n');
process.stdout.write('| --- | --- | --- | --- | --- | --- |\n');
for (const [part, pattern] of Object.entries(parts)) {
  const sizes = files.filter((file) => pattern.test(file)).map(measure);
  const lengths = sizes.map(({ lines }) => lines).sort((a, b) => a - b);
  const sum = (read) => sizes.reduce((total, size) => total + read(size), 0);
  const comments = sum((size) => size.comments);
  const share = Math.round((100 * comments) / (comments + sum((size) => size.code)));
  const at = (quantile) => lengths[Math.floor(quantile * (lengths.length - 1))];
  process.stdout.write(`| ${part} | ${lengths.length} | ${at(0.5)} | ${at(0.9)} | ${at(1)} | ${share} % |\n`);
}
