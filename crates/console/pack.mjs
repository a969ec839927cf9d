// Packs files for browsers: `node pack.mjs TO FILE...` writes TO/N.br and TO/N.gz of the N-th file.
// Node's own zlib does it in a second; a compressor compiled for the build would take longer to compile alone.
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { brotliCompressSync, constants, gzipSync } from 'node:zlib';

const [to, ...files] = process.argv.slice(2);
files.forEach((file, index) => {
  const bytes = readFileSync(file);
  const params = {
    [constants.BROTLI_PARAM_QUALITY]: constants.BROTLI_MAX_QUALITY,
    [constants.BROTLI_PARAM_SIZE_HINT]: bytes.length,
  };
  writeFileSync(join(to, `${index}.br`), brotliCompressSync(bytes, { params }));
  writeFileSync(join(to, `${index}.gz`), gzipSync(bytes, { level: 9 }));
});
