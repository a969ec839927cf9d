import { readFileSync } from 'node:fs';
import react from '@vitejs/plugin-react';
import { defineConfig, type Plugin } from 'vite';

import { licences } from './scripts/licences.ts';

/**
 * Puts src/first-paint.js, hashed, in front of everything else: a classic script, because a module would run
 * after the first paint, and a file of its own, because the content security policy permits no inline code.
 */
function firstPaint(): Plugin {
  let name = '';
  return {
    name: 'anyvirt:first-paint',
    apply: 'build',
    buildStart() {
      const source = readFileSync(new URL('src/first-paint.js', import.meta.url), 'utf8');
      name = this.emitFile({ type: 'asset', name: 'first-paint.js', source });
    },
    transformIndexHtml: {
      order: 'post',
      handler(_html, context) {
        const file = Object.values(context.bundle ?? {}).find((it) => it.name === 'first-paint.js');
        const src = `/console/${file?.fileName ?? name}`;
        return [{ tag: 'script', attrs: { src }, injectTo: 'head-prepend' }];
      },
    },
  };
}

/** PatternFly ships faces in italics and a font of icons, which the console never shows: 135 kB for nothing. */
function withoutUnusedFonts(): Plugin {
  return {
    name: 'anyvirt:without-unused-fonts',
    enforce: 'pre',
    transform(code, id) {
      if (!id.includes('patternfly') || !id.split('?')[0]?.endsWith('.css')) return null;
      return code.replace(/@font-face\s*\{[^}]*(?:font-style:\s*italic|pficon)[^}]*\}/g, '');
    },
  };
}

// `npm run dev` shows a running server's objects: ANYVIRT_API is its address, ANYVIRT_TOKEN a bearer token.
const api = process.env.ANYVIRT_API;
const token = process.env.ANYVIRT_TOKEN;
const proxied = {
  target: api ?? '',
  secure: false,
  ws: true,
  headers: token === undefined ? {} : { authorization: `Bearer ${token}` },
};

export default defineConfig({
  base: '/console/',
  plugins: [firstPaint(), withoutUnusedFonts(), licences(), react()],
  // Fonts and pictures as data: addresses would be against the content security policy.
  build: { target: 'es2023', assetsInlineLimit: 0, modulePreload: { polyfill: false }, chunkSizeWarningLimit: 700 },
  server: { ...(api === undefined ? {} : { proxy: { '/api': proxied, '/apis': proxied, '/console/api': proxied } }) },
  test: {
    include: ['src/**/*.test.ts', 'tests/**/*.test.mjs'],
    // Logic only: no test imports PatternFly, whose CommonJS requires style sheets.
    environment: 'node',
  },
} as Parameters<typeof defineConfig>[0]);
