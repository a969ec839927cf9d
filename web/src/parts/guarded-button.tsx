import { Button, type ButtonProps, DropdownItem, type DropdownItemProps, Tooltip } from '@patternfly/react-core';

import type { Right } from '../kubevirt/actions';
import { useWhyNot } from '../session/rights';

/** A button for what needs a right: without it, it stays visible and says what is missing. */
export function GuardedButton(props: ButtonProps & { right: Right; namespace?: string | undefined }): React.JSX.Element {
  const { right, namespace, ...rest } = props;
  const whyNot = useWhyNot(right, namespace);
  if (whyNot === undefined) return <Button {...rest} />;
  return (
    <Tooltip content={whyNot}>
      <Button {...rest} isDisabled={false} isAriaDisabled onClick={undefined} type="button" />
    </Tooltip>
  );
}

/** An item of a menu for what needs a right: without it, it stays visible and says what is missing. */
export function GuardedItem(props: Omit<DropdownItemProps, 'ref'> & { right: Right; namespace?: string | undefined }): React.JSX.Element {
  const { right, namespace, onClick, ...rest } = props;
  const whyNot = useWhyNot(right, namespace);
  return <DropdownItem {...rest} isAriaDisabled={whyNot !== undefined} description={whyNot} {...(whyNot === undefined && onClick !== undefined ? { onClick } : {})} />;
}
