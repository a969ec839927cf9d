import type { Failure } from '../kubernetes/failure';
import { t } from '../words/words';

/**
 * What a cure that failed has left behind. `isDry`: the server was only asked what would become of it. A write whose
 * answer was lost, or that the server gave up waiting for (504, `Timeout`), may have been done. Pure.
 */
export function leftBy(failure: Pick<Failure, 'code'>, isDry: boolean): { title: string; isKnown: boolean } {
  const isKnown = isDry || (failure.code !== 0 && failure.code !== 504);
  return { title: isKnown ? t('Nothing was changed') : t('It is not known whether this was done: close this and look again'), isKnown };
}
