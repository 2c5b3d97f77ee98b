// Package usb stands in for TinyGo's machine/usb.
package usb

var Manufacturer, Product, Serial string
