package main
type plot struct{name string}
func (p plot) draw() []byte {return nil}
var homogeneous,heterogeneous,oneSlow,oneFailing,ramp,severalProxies,hotKeys,keysMoved func()(string,[]plot)
