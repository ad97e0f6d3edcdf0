package expr

import "cel.dev/cel-go/checker"

// sizes tells the estimate of work at load that variables may be empty: an expression is refused there only if it takes too much whatever they
// are. What a request makes of it is counted when it runs.
type sizes struct{}

// EstimateSize implements checker.CostEstimator.
func (sizes) EstimateSize(checker.AstNode) *checker.SizeEstimate { return nil }

// EstimateCallCost implements checker.CostEstimator.
func (sizes) EstimateCallCost(function, overload string, target *checker.AstNode, args []checker.AstNode) *checker.CallEstimate {
	return nil
}
