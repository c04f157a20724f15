;; Computes for ever: makes no call, so nothing but an interruption from outside ends it.
(module
  (memory (export "memory") 1)
  (func (export "_start")
    (loop $for_ever
      (br $for_ever))))
