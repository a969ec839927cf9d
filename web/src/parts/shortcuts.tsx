import { Checkbox, DescriptionList, DescriptionListDescription, DescriptionListGroup, DescriptionListTerm, Modal, ModalBody, ModalHeader } from '@patternfly/react-core';
import { useNavigate } from '@tanstack/react-router';
import { useEffect, useRef, useState } from 'react';

import { t } from '../words/words';
import { meaning, takesKeys } from './keys';

const STORED_AS = 'anyvirt.shortcuts';
/** Milliseconds between the two keys of a sequence. */
const SEQUENCE = 1200;

/** Where `/` leads: the filter of a list page carries this attribute. */
export const FILTER = 'data-filter';

function areOn(): boolean {
  try {
    return localStorage.getItem(STORED_AS) !== 'off';
  } catch {
    return true;
  }
}

/** Listens for single keys, and explains them. Single keys can be switched off (WCAG 2.1.4). */
export function Shortcuts(props: { isOpen: boolean; onOpen: (open: boolean) => void }): React.JSX.Element {
  const { isOpen, onOpen } = props;
  const [on, setOn] = useState(areOn);
  const navigate = useNavigate();
  const sequence = useRef({ first: '', at: 0 });
  useEffect(() => {
    if (!on) return undefined;
    function pressed(event: KeyboardEvent): void {
      if (event.ctrlKey || event.altKey || event.metaKey || event.defaultPrevented) return;
      if (takesKeys(event.target as HTMLElement | null)) return;
      const { first, at } = sequence.current;
      const keyed = meaning(Date.now() - at < SEQUENCE ? first : '', event.key);
      sequence.current = { first: keyed.type === 'wait' ? keyed.first : '', at: Date.now() };
      if (keyed.type === 'none' || keyed.type === 'wait') return;
      event.preventDefault();
      if (keyed.type === 'go') void navigate({ to: keyed.to });
      else if (keyed.type === 'create') void navigate({ to: '/create' });
      else if (keyed.type === 'help') onOpen(true);
      else document.querySelector<HTMLInputElement>(`[${FILTER}] input`)?.focus();
    }
    window.addEventListener('keydown', pressed);
    return () => window.removeEventListener('keydown', pressed);
  }, [on, navigate, onOpen]);

  function switchTo(next: boolean): void {
    setOn(next);
    try {
      localStorage.setItem(STORED_AS, next ? 'on' : 'off');
    } catch {
      // The choice lasts as long as the page.
    }
  }

  return (
    <Modal isOpen={isOpen} onClose={() => onOpen(false)} variant="small" aria-labelledby="shortcuts-title">
      <ModalHeader title={t('Keyboard shortcuts')} labelId="shortcuts-title" />
      <ModalBody tabIndex={0}>
        <div className="av-stack">
          <Checkbox id="shortcuts-on" label={t('Single keys are shortcuts')} isChecked={on} onChange={(_event, value) => switchTo(value)} />
          <DescriptionList isHorizontal isCompact>
            <Key keys={['?']}>{t('This help')}</Key>
            <Key keys={['g', 'o']}>{t('Overview')}</Key>
            <Key keys={['g', 'v']}>{t('VirtualMachines')}</Key>
            <Key keys={['g', 'c']}>{t('Config Maps')}</Key>
            <Key keys={['g', 'e']}>{t('Events')}</Key>
            <Key keys={['g', 'n']}>{t('Nodes')}</Key>
            <Key keys={['g', 's']}>{t('Settings')}</Key>
            <Key keys={['/']}>{t('Filter')}</Key>
            <Key keys={['j', 'k']}>{t('Next and previous row')}</Key>
            <Key keys={['x']}>{t('Select the row')}</Key>
            <Key keys={['.']}>{t('Actions of the row')}</Key>
            <Key keys={['Enter']}>{t('Open the row')}</Key>
            <Key keys={['c']}>{t('Create a VirtualMachine')}</Key>
            <Key keys={['Ctrl', 'Enter']}>{t('Review or apply')}</Key>
            <Key keys={['Ctrl', 'Alt', 'Shift', 'Esc']}>{t('Leave a console')}</Key>
          </DescriptionList>
        </div>
      </ModalBody>
    </Modal>
  );
}

function Key(props: { keys: string[]; children: React.ReactNode }): React.JSX.Element {
  return (
    <DescriptionListGroup>
      <DescriptionListTerm>
        {props.keys.map((key) => (
          <kbd key={key}>{key}</kbd>
        ))}
      </DescriptionListTerm>
      <DescriptionListDescription>{props.children}</DescriptionListDescription>
    </DescriptionListGroup>
  );
}
