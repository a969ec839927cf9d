import { type Machine, memoryOf, processorsOf } from '../kubevirt/machine';
import { bytes, quantity } from '../words/measures';
import { format, t } from '../words/words';

/** Milliseconds between two looks: as often as the server samples. */
export const LOOK_EVERY = 5000;

/** What is measured, and in which words. */
export interface Measure {
  /** The server's name. */
  name: string;
  label: string;
  /** A value for people. */
  say: (value: number) => string;
  /** Bytes, or bytes per second. */
  areBytes?: true;
}

const number = (value: number, digits = 2): string =>
  format(`at most ${digits}`, (language) => new Intl.NumberFormat(language, { maximumFractionDigits: digits })).format(value);
const perSecond = (value: number): string => t('{size}/s', { size: bytes(value < 1 ? 0 : Math.round(value)) });
const operations = (value: number): string => t('{n}/s', { n: number(value, 1) });

/** Everything that is measured of a machine. */
export function machineMeasures(): Record<'processor' | 'memory' | 'diskRead' | 'diskWritten' | 'diskReads' | 'diskWrites' | 'networkReceived' | 'networkSent', Measure> {
  return {
    processor: { name: 'processor', label: t('Processors'), say: number },
    memory: { name: 'memory', label: t('Memory'), say: bytes, areBytes: true },
    diskRead: { name: 'diskRead', label: t('Read'), say: perSecond, areBytes: true },
    diskWritten: { name: 'diskWritten', label: t('Written'), say: perSecond, areBytes: true },
    diskReads: { name: 'diskReads', label: t('Reads'), say: operations },
    diskWrites: { name: 'diskWrites', label: t('Writes'), say: operations },
    networkReceived: { name: 'networkReceived', label: t('Received'), say: perSecond, areBytes: true },
    networkSent: { name: 'networkSent', label: t('Sent'), say: perSecond, areBytes: true },
  };
}

/** Processors and bytes that a machine was given. */
export function givenTo(machine: Machine): { processor: number; memory: number | undefined } {
  const spec = machine.vmi?.spec ?? machine.vm.spec.template?.spec;
  return { processor: processorsOf(spec), memory: quantity(machine.vmi?.status?.memory?.guestCurrent ?? memoryOf(spec)) };
}
