import { DescriptionListDescription, DescriptionListGroup, DescriptionListTerm } from '@patternfly/react-core';

/** One line of a list of facts. */
export function Fact(props: { term: string; children: React.ReactNode }): React.JSX.Element {
  return (
    <DescriptionListGroup>
      <DescriptionListTerm>{props.term}</DescriptionListTerm>
      <DescriptionListDescription className="av-wrap">{props.children}</DescriptionListDescription>
    </DescriptionListGroup>
  );
}
