/** X11 keysyms (keysymdef.h) of keys that a browser keeps for itself. */
export const KEYSYMS = {
  Escape: 0xff1b, Tab: 0xff09, Return: 0xff0d, Control: 0xffe3, Alt: 0xffe9, Shift: 0xffe1, Super: 0xffeb, PrintScreen: 0xff61, F1: 0xffbe,
} as const;

/** The keysym of F1 to F12. */
export function functionKey(number: number): number {
  return KEYSYMS.F1 + number - 1;
}

/** The keysym of a character: Latin-1 stands for itself, the rest of Unicode from 0x01000000 on (X11 protocol, appendix A). */
export function keysymOf(character: string): number {
  if (character === '\n') return KEYSYMS.Return;
  if (character === '\t') return KEYSYMS.Tab;
  const point = character.codePointAt(0) ?? 0;
  return (point >= 0x20 && point <= 0x7e) || (point >= 0xa0 && point <= 0xff) ? point : 0x0100_0000 + point;
}
