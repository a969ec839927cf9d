/** Keyboard layouts that a guest may have. */
export const LAYOUTS = ['us', 'gb', 'de', 'fr'] as const;
/** One of {@link LAYOUTS}. */
export type Layout = (typeof LAYOUTS)[number];

/** One key to press, by its place on the keyboard (`KeyboardEvent.code`), and what is held meanwhile. */
export interface Stroke {
  code: string;
  held: 'none' | 'ShiftLeft' | 'AltRight';
}

/** Keys in the order in which the layouts below write their letters; `IntlBackslash` is missing on American keyboards. */
const CODES = [
  'Backquote', 'Digit1', 'Digit2', 'Digit3', 'Digit4', 'Digit5', 'Digit6', 'Digit7', 'Digit8', 'Digit9', 'Digit0', 'Minus', 'Equal',
  'KeyQ', 'KeyW', 'KeyE', 'KeyR', 'KeyT', 'KeyY', 'KeyU', 'KeyI', 'KeyO', 'KeyP', 'BracketLeft', 'BracketRight',
  'KeyA', 'KeyS', 'KeyD', 'KeyF', 'KeyG', 'KeyH', 'KeyJ', 'KeyK', 'KeyL', 'Semicolon', 'Quote', 'Backslash',
  'IntlBackslash', 'KeyZ', 'KeyX', 'KeyC', 'KeyV', 'KeyB', 'KeyN', 'KeyM', 'Comma', 'Period', 'Slash', 'Space',
] as const;

/** Stands where a key has no letter. */
const NONE = '\0';

interface Keymap {
  plain: string;
  shifted: string;
  /** With AltGr. */
  third: Readonly<Partial<Record<(typeof CODES)[number], string>>>;
  /** Letters that, typed without AltGr, wait for another one to stand on; a space after them makes them stand alone. */
  dead: string;
}

const KEYMAPS: Readonly<Record<Layout, Keymap>> = {
  us: { plain: `\`1234567890-=qwertyuiop[]asdfghjkl;'\\${NONE}zxcvbnm,./ `, shifted: `~!@#$%^&*()_+QWERTYUIOP{}ASDFGHJKL:"|${NONE}ZXCVBNM<>? `, third: {}, dead: '' },
  gb: { plain: "`1234567890-=qwertyuiop[]asdfghjkl;'#\\zxcvbnm,./ ", shifted: '¬!"£$%^&*()_+QWERTYUIOP{}ASDFGHJKL:@~|ZXCVBNM<>? ', third: { Digit4: '€' }, dead: '' },
  de: {
    plain: '^1234567890ß´qwertzuiopü+asdfghjklöä#<yxcvbnm,.- ',
    shifted: '°!"§$%&/()=?`QWERTZUIOPÜ*ASDFGHJKLÖÄ\'>YXCVBNM;:_ ',
    third: { Digit2: '²', Digit3: '³', Digit7: '{', Digit8: '[', Digit9: ']', Digit0: '}', Minus: '\\', KeyQ: '@', KeyE: '€', BracketRight: '~', KeyM: 'µ', IntlBackslash: '|' },
    dead: '^´`',
  },
  fr: {
    plain: '²&é"\'(-è_çà)=azertyuiop^$qsdfghjklmù*<wxcvbn,;:! ',
    shifted: `${NONE}1234567890°+AZERTYUIOP¨£QSDFGHJKLM%µ>WXCVBN?./§ `,
    third: { Digit2: '~', Digit3: '#', Digit4: '{', Digit5: '[', Digit6: '|', Digit7: '`', Digit8: '\\', Digit9: '^', Digit0: '@', Minus: ']', Equal: '}', KeyE: '€' },
    dead: '^¨~`',
  },
};

/** The keys that write `character` in a guest with that layout; undefined if none do. */
export function strokesOf(layout: Layout, character: string): Stroke[] | undefined {
  if (character === '\n') return [{ code: 'Enter', held: 'none' }];
  if (character === '\t') return [{ code: 'Tab', held: 'none' }];
  const { dead } = KEYMAPS[layout];
  const stroke = strokeOf(layout, character);
  if (stroke === undefined) return undefined;
  // With AltGr none of these layouts waits (xkeyboard-config, symbols/fr: asciitilde, grave, asciicircum).
  return dead.includes(character) && stroke.held !== 'AltRight' ? [stroke, { code: 'Space', held: 'none' }] : [stroke];
}

function strokeOf(layout: Layout, character: string): Stroke | undefined {
  const { plain, shifted, third, dead } = KEYMAPS[layout];
  const of = (code: string | undefined, held: Stroke['held']): Stroke | undefined => (code === undefined ? undefined : { code, held });
  if (character === NONE) return undefined;
  const level = of(CODES.find((code) => third[code] === character), 'AltRight');
  // A letter that stands alone at once is better than one that waits, wherever it is.
  const direct = of(CODES[[...plain].indexOf(character)], 'none') ?? of(CODES[[...shifted].indexOf(character)], 'ShiftLeft');
  return dead.includes(character) ? (level ?? direct) : (direct ?? level);
}

/** X11 keysyms of the keys that are held. */
export const HELD_KEYSYMS = { ShiftLeft: 0xffe1, AltRight: 0xfe03 } as const;
