import { Checkbox, DescriptionList, DescriptionListDescription, DescriptionListGroup, DescriptionListTerm, Modal, ModalBody, ModalHeader } from '@patternfly/react-core';

import { t } from '../words/words';

/** Explains the keys, and switches single ones off. */
export function ShortcutsDialog(props: { on: boolean; onSwitch: (on: boolean) => void; onClose: () => void }): React.JSX.Element {
  return (
    <Modal isOpen onClose={props.onClose} variant="small" aria-labelledby="shortcuts-title">
      <ModalHeader title={t('Keyboard shortcuts')} labelId="shortcuts-title" />
      <ModalBody tabIndex={0}>
        <div className="av-stack">
          <Checkbox id="shortcuts-on" label={t('Single keys are shortcuts')} isChecked={props.on} onChange={(_event, value) => props.onSwitch(value)} />
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
            <Key keys={['p']}>{t('Show the row beside the list; Esc closes')}</Key>
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
