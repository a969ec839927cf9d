import { beforeEach, expect, test, vi } from 'vitest';

import { forgetAll } from '../kubernetes/store';
import { logIn } from './session';

vi.mock('../kubernetes/store', () => ({ forgetAll: vi.fn() }));

async function enterAs(name: string): Promise<void> {
  vi.stubGlobal('fetch', () => Promise.resolve(Response.json({ user: { name, groups: [] }, csrf: 'token' })));
  await logIn({ token: 'secret' });
}

beforeEach(() => vi.mocked(forgetAll).mockClear());

test('what one person could read is forgotten when another comes, and kept for the same one', async () => {
  await enterAs('admin');
  await enterAs('admin');
  expect(forgetAll).not.toHaveBeenCalled();
  await enterAs('viewer');
  expect(forgetAll).toHaveBeenCalledTimes(1);
});
