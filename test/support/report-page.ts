/** What a browser makes of a report: on screens, in the dark, on paper. */
import type { Browser, Page } from 'playwright-core';
import { openPage, seriousFindings } from './browser.js';

type Medium = 'light' | 'dark' | 'print';
type Plot = { readonly width: number; readonly height: number; readonly marks: number };

export type SeenReport = {
  readonly page: Page;
  readonly plots: readonly Plot[];
  /** Whatever it asked for. */
  readonly requests: readonly string[];
  readonly errors: readonly string[];
  /** Of axe-core. */
  readonly findings: readonly string[];
  /** Colour behind the text, and how well the text stands out from it (WCAG's ratio). */
  readonly paper: Readonly<Record<Medium, string>>;
  readonly contrast: Readonly<Record<Medium, number>>;
  /** Pixels by which it is wider than a sheet of A4. */
  readonly tooWide: number;
};

/** A4 is 210 mm wide; browsers leave margins of 10 mm. Pixels of 1/96 inch. */
const sheet = { width: Math.floor((190 / 25.4) * 96), height: 1000 };

const findPlots = `[...document.querySelectorAll('svg')].map((svg) => {
  const { width, height } = svg.getBoundingClientRect();
  return { width, height, marks: svg.querySelectorAll('path, rect, circle, line, text').length };
})`;

/** WCAG 2.1: (lighter + 0.05) ÷ (darker + 0.05) of the relative luminances. */
const findColours = `(() => {
  const { color, backgroundColor } = getComputedStyle(document.body);
  const luminance = (text) => {
    const [r, g, b] = text.match(/[\\d.]+/g).map((value) => value / 255)
      .map((value) => (value <= 0.03928 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const [low, high] = [luminance(color), luminance(backgroundColor)].sort((a, b) => a - b);
  return { paper: backgroundColor, contrast: (high + 0.05) / (low + 0.05) };
})()`;

async function coloursIn(page: Page, medium: Medium) {
  const colorScheme = medium === 'light' ? 'light' : 'dark';
  await page.emulateMedia({ media: medium === 'print' ? 'print' : 'screen', colorScheme });
  return (await page.evaluate(findColours)) as { readonly paper: string; readonly contrast: number };
}

/** Opens a report as it is. Paper is tried on a machine that is set to dark. */
export async function openReport(browser: Browser, html: string): Promise<SeenReport> {
  const { page, errors } = await openPage(browser);
  const requests: string[] = [];
  page.on('request', (request) => requests.push(request.url()));
  await page.setContent(html, { waitUntil: 'load' });
  const findings = await seriousFindings(page);
  const plots = (await page.evaluate(findPlots)) as readonly Plot[];
  const light = await coloursIn(page, 'light');
  const dark = await coloursIn(page, 'dark');
  const print = await coloursIn(page, 'print');
  await page.setViewportSize(sheet);
  const width = (await page.evaluate('document.scrollingElement.scrollWidth')) as number;
  const tooWide = Math.max(0, width - sheet.width);
  const paper = { light: light.paper, dark: dark.paper, print: print.paper };
  const contrast = { light: light.contrast, dark: dark.contrast, print: print.contrast };
  return { page, plots, requests, errors, findings, paper, contrast, tooWide };
}
