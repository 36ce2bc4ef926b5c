/** Headless Chromium for tests of pages. */
import { spawnSync } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { type Browser, chromium, type Page } from 'playwright-core';

/** Debian's name first, then what others call it. */
const names = ['chromium', 'chromium-browser', 'google-chrome'];

/** The library of a sanitizer, loaded before Node, would keep Chromium busy for ever. */
const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => name !== 'LD_PRELOAD'));

const found = names.find((name) => spawnSync(name, ['--version'], { stdio: 'ignore', env }).status === 0);

/** Options for `test`: says so where there is no Chromium; continuous integration takes that for a failure. */
export const needsBrowser: { readonly skip?: string } =
  found === undefined ? { skip: 'needs chromium (Debian: apt install chromium)' } : {};

/** The path of a command, as playwright wants it. */
const pathOf = (name: string): string => spawnSync('which', [name], { encoding: 'utf8' }).stdout.trim();

/** Starts Chromium; the caller closes it. Its own sandbox doesn't work for root, as which CI runs in containers. */
export function openBrowser(): Promise<Browser> {
  const args = ['--no-sandbox', '--disable-gpu'];
  return chromium.launch({ executablePath: pathOf(found ?? 'chromium'), args, env });
}

/** A page and what it complains about: console errors and exceptions that nobody caught. */
export async function openPage(browser: Browser): Promise<{ readonly page: Page; readonly errors: string[] }> {
  const page = await browser.newPage();
  const errors: string[] = [];
  page.on('pageerror', (error) => errors.push(String(error)));
  page.on('console', (message) => {
    if (message.type() === 'error') errors.push(message.text());
  });
  return { page, errors };
}

const axePath = createRequire(import.meta.url).resolve('axe-core/axe.min.js');

type Finding = { readonly id: string; readonly impact: string | null; readonly nodes: readonly { html: string }[] };

/**
 * What axe-core finds wrong for people who use a keyboard or a screen reader, its two severest kinds: one line each.
 * The page's policy forbids foreign scripts, so axe comes through the debugging protocol, which no policy binds.
 */
export async function seriousFindings(page: Page): Promise<readonly string[]> {
  await page.evaluate(await readFile(axePath, 'utf8'));
  const findings = (await page.evaluate('axe.run().then((result) => result.violations)')) as readonly Finding[];
  const serious = findings.filter(({ impact }) => impact === 'serious' || impact === 'critical');
  return serious.map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html.slice(0, 120)).join(' | ')}`);
}
