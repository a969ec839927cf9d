import { Button, Dropdown, DropdownItem, DropdownList, FormGroup, FormSelect, FormSelectOption, MenuToggle, Modal, ModalBody, ModalFooter, ModalHeader, Switch, TextArea, Toolbar, ToolbarContent, ToolbarItem } from '@patternfly/react-core';
import RFB from '@novnc/novnc';
import { useEffect, useRef, useState } from 'react';

import { download } from '../parts/download';
import { t } from '../words/words';
import { PLAIN, streamAddress } from './address';
import { HELD_KEYSYMS, type Layout, LAYOUTS, strokesOf } from './keymaps';
import { functionKey, KEYSYMS, keysymOf } from './keysyms';
import { leavesConsole } from './leave';
import { Veil } from './veil';

/** `refused`: closed before anything was shown; somebody else may be at the screen. */
type State = { is: 'connecting' } | { is: 'open' } | { is: 'refused' } | { is: 'closed' };
/** How to come to those who are at the screen: not if there are any, beside them, or in their place. */
type Manner = 'unlessInUse' | 'shares' | 'takesOver';
const QUERIES: Readonly<Record<Manner, Readonly<Record<string, string>>>> = {
  unlessInUse: { preserveSession: 'true' },
  shares: { shared: 'true' },
  takesOver: {},
};

interface Attempt {
  number: number;
  manner: Manner;
}

/** Milliseconds between characters that are typed for a person: a guest's keyboard buffer is short. */
const TYPING = 20;

/** The guest's screen, with keyboard and mouse. */
export function ScreenConsole(props: { namespace: string; name: string }): React.JSX.Element {
  const { namespace, name } = props;
  const frame = useRef<HTMLDivElement>(null);
  const place = useRef<HTMLDivElement>(null);
  const leave = useRef<HTMLButtonElement>(null);
  const client = useRef<RFB>(undefined);
  const [state, setState] = useState<State>({ is: 'connecting' });
  const [attempt, setAttempt] = useState<Attempt>({ number: 0, manner: 'unlessInUse' });
  const [isScaled, setScaled] = useState(true);
  const [isViewOnly, setViewOnly] = useState(false);
  const [isPasting, setPasting] = useState(false);

  useEffect(() => {
    const target = place.current;
    if (target === null) return undefined;
    const shown = new RFB(target, streamAddress(window.location, namespace, name, 'vnc', QUERIES[attempt.manner]), { wsProtocols: [PLAIN], shared: true });
    shown.scaleViewport = true;
    shown.background = '#000';
    client.current = shown;
    shown.addEventListener('connect', () => setState({ is: 'open' }));
    let isOver = false;
    shown.addEventListener('disconnect', () => {
      isOver = true;
      setState(({ is }) => ({ is: is === 'open' ? 'closed' : 'refused' }));
    });
    function pressed(event: KeyboardEvent): void {
      if (!leavesConsole(event)) return;
      event.stopPropagation();
      shown.blur();
      leave.current?.focus();
    }
    target.addEventListener('keydown', pressed, true);
    return () => {
      target.removeEventListener('keydown', pressed, true);
      // noVNC tells an error if what is over is ended once more.
      if (!isOver) shown.disconnect();
      client.current = undefined;
    };
  }, [namespace, name, attempt]);
  useEffect(() => {
    if (client.current !== undefined) client.current.scaleViewport = isScaled;
  }, [isScaled, attempt]);
  useEffect(() => {
    if (client.current !== undefined) client.current.viewOnly = isViewOnly;
  }, [isViewOnly, attempt]);

  return (
    <div className="av-stack" data-takes-keys="">
      <Toolbar inset={{ default: 'insetNone' }}>
        <ToolbarContent>
          <ToolbarItem>
            <KeysMenu toggleRef={leave} send={(keysyms) => press(client.current, keysyms)} />
          </ToolbarItem>
          <ToolbarItem><Button variant="secondary" size="sm" onClick={() => setPasting(true)}>{t('Paste as typing')}</Button></ToolbarItem>
          <ToolbarItem><Button variant="secondary" size="sm" onClick={() => save(client.current, name)}>{t('Screenshot')}</Button></ToolbarItem>
          <ToolbarItem><Button variant="secondary" size="sm" onClick={() => void frame.current?.requestFullscreen()}>{t('Full screen')}</Button></ToolbarItem>
          <ToolbarItem alignSelf="center"><Switch id="scaled" label={t('Fit')} isChecked={isScaled} onChange={(_event, on) => setScaled(on)} /></ToolbarItem>
          <ToolbarItem alignSelf="center"><Switch id="view-only" label={t('View only')} isChecked={isViewOnly} onChange={(_event, on) => setViewOnly(on)} /></ToolbarItem>
          <ToolbarItem alignSelf="center"><span className="av-subtle av-small">{t('Ctrl+Alt+Shift+Esc leaves the console.')}</span></ToolbarItem>
        </ToolbarContent>
      </Toolbar>
      <div className="av-screen" ref={frame}>
        <div ref={place} data-state={state.is} data-console="screen" style={{ height: '100%' }} />
        <ScreenVeil state={state} onConnect={(manner) => { setState({ is: 'connecting' }); setAttempt({ number: attempt.number + 1, manner }); }} />
      </div>
      {isPasting && <PasteDialog onClose={() => setPasting(false)} onType={(text, layout) => type(client.current, text, layout)} />}
    </div>
  );
}

function ScreenVeil(props: { state: State; onConnect: (manner: Manner) => void }): React.JSX.Element | null {
  const { state, onConnect } = props;
  switch (state.is) {
    case 'open':
      return null;
    case 'connecting':
      return <Veil text={t('Connecting to the screen…')} />;
    case 'refused':
      return (
        <Veil text={t('The screen cannot be opened: somebody else has it open, or the guest has just stopped.')} onRetry={() => onConnect('unlessInUse')}>
          <Button variant="secondary" onClick={() => onConnect('shares')}>{t('Join them')}</Button>
          <Button variant="secondary" onClick={() => onConnect('takesOver')}>{t('Take it over')}</Button>
        </Veil>
      );
    case 'closed':
      return <Veil text={t('The screen was closed: the guest has stopped, or somebody else has taken it over.')} onRetry={() => onConnect('unlessInUse')} />;
  }
}

function KeysMenu(props: { toggleRef: React.RefObject<HTMLButtonElement | null>; send: (keysyms: readonly number[]) => void }): React.JSX.Element {
  const [isOpen, setOpen] = useState(false);
  const { Control, Alt, Super, PrintScreen, Escape, Tab } = KEYSYMS;
  const combinations: readonly [string, readonly number[]][] = [
    ['Ctrl+Alt+Del', [Control, Alt, 0xffff]],
    ['Ctrl+Alt+Backspace', [Control, Alt, 0xff08]],
    ['Alt+Tab', [Alt, Tab]],
    ['Super', [Super]],
    ['Esc', [Escape]],
    ['PrtSc', [PrintScreen]],
    ...[1, 2, 3, 4, 5, 6, 7].map((n): [string, number[]] => [`Ctrl+Alt+F${n}`, [Control, Alt, functionKey(n)]]),
    ...[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12].map((n): [string, number[]] => [`F${n}`, [functionKey(n)]]),
  ];
  return (
    <Dropdown
      isOpen={isOpen}
      isScrollable
      onOpenChange={setOpen}
      onSelect={() => setOpen(false)}
      toggle={(ref: React.Ref<HTMLButtonElement>) => (
        <MenuToggle
          ref={(element: HTMLButtonElement | null) => share(element, ref, props.toggleRef)}
          size="sm"
          isExpanded={isOpen}
          onClick={() => setOpen(!isOpen)}
        >
          {t('Send keys')}
        </MenuToggle>
      )}
    >
      <DropdownList>
        {combinations.map(([label, keysyms]) => <DropdownItem key={label} onClick={() => props.send(keysyms)}>{label}</DropdownItem>)}
      </DropdownList>
    </Dropdown>
  );
}

/** Hands an element to two refs: the menu's own, and the one that gets the focus when a person leaves the console. */
function share<E>(element: E | null, ref: React.Ref<E>, own: React.RefObject<E | null>): void {
  own.current = element;
  if (typeof ref === 'function') ref(element);
  else if (ref !== null) ref.current = element;
}

function layoutLabel(layout: Layout): string {
  return { us: t('English (US)'), gb: t('English (UK)'), de: t('German'), fr: t('French') }[layout];
}

function PasteDialog(props: { onClose: () => void; onType: (text: string, layout: Layout) => void }): React.JSX.Element {
  const [text, setText] = useState('');
  const [layout, setLayout] = useState<Layout>('us');
  const missing = [...new Set(text)].filter((character) => strokesOf(layout, character) === undefined);
  return (
    <Modal isOpen onClose={props.onClose} variant="small" aria-labelledby="paste-title">
      <ModalHeader title={t('Paste as typing')} labelId="paste-title" description={t('The text is typed into the guest key by key, on the keyboard that the guest believes to have.')} />
      <ModalBody tabIndex={0}>
        <div className="av-stack">
          <FormGroup label={t('Keyboard layout of the guest')} fieldId="layout">
            <FormSelect id="layout" value={layout} onChange={(_event, value) => setLayout(value as Layout)}>
              {LAYOUTS.map((one) => <FormSelectOption key={one} value={one} label={layoutLabel(one)} />)}
            </FormSelect>
          </FormGroup>
          <TextArea aria-label={t('Text to type')} value={text} onChange={(_event, value) => setText(value)} rows={6} resizeOrientation="vertical" />
          {missing.length > 0 && <p role="status">{t('No key of that layout writes: {letters}. They are sent as they are, and the guest may not understand them.', { letters: missing.join(' ') })}</p>}
        </div>
      </ModalBody>
      <ModalFooter>
        <Button isDisabled={text === ''} onClick={() => { props.onType(text, layout); props.onClose(); }}>{t('Type it')}</Button>
        <Button variant="link" onClick={props.onClose}>{t('Cancel')}</Button>
      </ModalFooter>
    </Modal>
  );
}

/** Presses keys in order and lets them go in the opposite one. */
function press(client: RFB | undefined, keysyms: readonly number[]): void {
  for (const keysym of keysyms) client?.sendKey(keysym, null, true);
  for (const keysym of keysyms.toReversed()) client?.sendKey(keysym, null, false);
  client?.focus();
}

/** Types a text on the keyboard that the guest believes to have: by the keys' places, else by what they would write. */
function type(client: RFB | undefined, text: string, layout: Layout): void {
  [...text].forEach((character, index) => setTimeout(() => typeOne(client, character, layout), index * TYPING));
}

function typeOne(client: RFB | undefined, character: string, layout: Layout): void {
  const keysym = keysymOf(character);
  for (const { code, held } of strokesOf(layout, character) ?? [{ code: null, held: 'none' as const }]) {
    if (held !== 'none') client?.sendKey(HELD_KEYSYMS[held], held, true);
    client?.sendKey(code === 'Space' ? 0x20 : keysym, code);
    if (held !== 'none') client?.sendKey(HELD_KEYSYMS[held], held, false);
  }
}

function save(client: RFB | undefined, name: string): void {
  client?.toBlob((blob) => {
    if (blob !== null) download(blob, `${name}.png`);
  }, 'image/png');
}
